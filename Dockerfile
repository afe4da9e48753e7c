# FLARE's form: /workspace/inputs to /workspace/outputs by predict.sh; no network, no root and no GPU needed to run.
FROM python:3.11.13-slim-bookworm

# https://download.pytorch.org/whl/cpu makes the image some gigabytes smaller, and slower where there is a GPU.
ARG TORCH_INDEX=https://pypi.org/simple

# HOME and caches lie where any user may write, also with `--user` and `--read-only --tmpfs /tmp`.
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib

RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin abdoseg
WORKDIR /workspace

# The libraries come before the code, so that a change of the code does not install them anew.
COPY pyproject.toml README.md ./
COPY abdoseg/__init__.py abdoseg/
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple "torch==2.13.0" \
    && pip install --no-cache-dir "torch==2.13.0" -e ".[dicom]"

COPY abdoseg/ abdoseg/
COPY tools/ tools/
COPY bundles/ bundles/
COPY predict.sh LICENSE ./
RUN mkdir inputs outputs && chown abdoseg inputs outputs

USER abdoseg
CMD ["sh", "predict.sh"]

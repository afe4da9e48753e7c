"""The commands of this repository: ``python -m tools COMMAND``; they chain bundles and hold no model logic."""

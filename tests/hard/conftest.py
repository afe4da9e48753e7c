"""Options of the hard tests: how many cases and kills, from which seed on, and the demo's data."""


def pytest_addoption(parser) -> None:
    parser.addoption("--malformed", type=int, default=200, help="malformed cases")
    parser.addoption("--kills", type=int, default=None, help="kills of the chaos test")
    parser.addoption("--first-seed", type=int, default=0, help="seed of the first case or run")
    parser.addoption("--demo-data", default=None, help="folder of the demo's data, to run its chain on Slurm")

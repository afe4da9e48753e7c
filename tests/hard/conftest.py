"""Options of the hard tests: how many cases and kills, and from which seed on."""


def pytest_addoption(parser) -> None:
    parser.addoption("--malformed", type=int, default=200, help="malformed cases")
    parser.addoption("--kills", type=int, default=None, help="kills of the chaos test")
    parser.addoption("--first-seed", type=int, default=0, help="seed of the first case or run")

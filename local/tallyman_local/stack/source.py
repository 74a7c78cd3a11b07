"""Find the template.yaml that the local cloud deploys: the checkout's, or the copy in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def root() -> Path:
    """The folder of template.yaml. Raises FileNotFoundError where neither the checkout nor the wheel has it."""
    for folder in (PACKAGE.parents[1], PACKAGE / "checkout"):
        if (folder / "template.yaml").is_file() and (folder / "functions").is_dir():
            return folder
    raise FileNotFoundError(f"no template.yaml in {PACKAGE.parents[1]} or {PACKAGE / 'checkout'}")

"""Beyond pyproject.toml: the wheel carries the stack that the local cloud deploys, for use without a checkout."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
STACK = ("template.yaml", "spoke.yaml", "layers/policy/tallyman.yaml", "functions/*/app.py")
"""Files of the checkout that go into `tallyman_local/checkout/`; the core is in the wheel as the package `tallyman`."""


class WithStack(build_py):
    """Copies the stack beside the packages; an editable installation uses the checkout itself."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "tallyman_local/checkout"
        for pattern in STACK:
            for file in sorted(ROOT.glob(pattern)):
                copy = target / file.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


setup(cmdclass={"build_py": WithStack})

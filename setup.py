"""Builds the compiled twins of the hot path; everything else about the package stands in pyproject.toml.

Where they cannot be built (no C compiler, no Python headers), the installation goes on without them and the node runs
the plain twins (`node/base/native.py`).
"""

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError


class BuildIfPossible(build_ext):
    """Setuptools' own `optional` forgives a compiler that fails, but not one that is missing."""

    def build_extension(self, ext: Extension) -> None:
        """Build, or say why not."""
        try:
            super().build_extension(ext)
        except (CCompilerError, ExecError, PlatformError, OSError) as error:
            self.warn(f"{ext.name} is not built, the plain twins will do its work: {error}")
            ext.optional = True  # so that nobody looks for its file


setup(
    ext_modules=cythonize(
        [Extension("slotmesh.node.compiled.*", ["src/slotmesh/node/compiled/*.pyx"])], build_dir="build"
    ),
    cmdclass={"build_ext": BuildIfPossible},
)

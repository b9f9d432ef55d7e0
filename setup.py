"""Builds the optional C kernels; everything else about the package is in pyproject.toml.

The library has a plain C interface and no initialisation function: it is opened with ctypes, so it needs neither
Python's headers nor torch's, and one file serves every Python version. Where no compiler is found the build goes on
without it and the kernels run on their PyTorch reference.
"""

import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import ExecError

HEADER = Path("csrc/trimtab.h")


class BuildKernels(build_ext):
    """Parses the header of all files once: its intrinsics take a compiler longer than most kernels do."""

    def build_extension(self, ext):
        """Build one extension with its header precompiled, or as usual where the compiler does not do that."""
        folder = Path(self.build_temp, "header")
        folder.mkdir(parents=True, exist_ok=True)
        header = Path(shutil.copy(HEADER, folder))  # read as text should the precompiled form not fit
        form = Path(f"{header}.gch")
        compile_it = [*self.compiler.compiler_so, *ext.extra_compile_args, "-x", "c-header", str(header)]
        try:
            self.spawn([*compile_it, "-o", str(form)])
            ext.extra_compile_args.append(f"-include{header}")
        except (AttributeError, ExecError):
            pass
        try:
            super().build_extension(ext)
        finally:
            form.unlink(missing_ok=True)


setup(
    cmdclass={"build_ext": BuildKernels},
    ext_modules=[
        Extension(
            "trimtab.kernels._cpu",
            sources=sorted(map(str, Path("csrc").glob("*.c"))),
            depends=sorted(map(str, Path("csrc").glob("*.h"))),
            extra_compile_args=[
                "-O3",
                "-g0",
                "-std=c11",
                "-fopenmp",
                "-ffp-contract=off",
                "-fno-trapping-math",
                "-fvisibility=hidden",
                "-Wall",
                "-Wshadow",
            ],
            extra_link_args=["-fopenmp"],
            optional=True,
        )
    ],
)

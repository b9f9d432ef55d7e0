"""Builds the optional C kernels; everything else about the package is in pyproject.toml.

The library has a plain C interface and no initialisation function: it is opened with ctypes, so it needs neither
Python's headers nor torch's, and one file serves every Python version. Where no compiler is found the build goes on
without it and the kernels run on their PyTorch reference.
"""

from pathlib import Path

from setuptools import Extension, setup

setup(
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
            ],
            extra_link_args=["-fopenmp"],
            optional=True,
        )
    ]
)

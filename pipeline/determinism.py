"""What makes the same parameters give the same bytes on another machine: instruction sets and thread counts."""

import os

# numpy's exp and log, BLAS and torch give other last bits with AVX-512 than with AVX2, and BLAS with other thread
# counts; tracked stages therefore run on what every x86-64 machine of the last ten years has.
FIXED: dict[str, str] = {
    # First as numpy 2 names them, then as numpy 1 of the automl environment does; each ignores the others' names.
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL",
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MKL_CBWR": "COMPATIBLE",
    "PYTHONHASHSEED": "0",
    "TZ": "UTC",
}


def fix() -> None:
    """Set the variables above for this process and all that it starts; call before numpy is first imported."""
    os.environ.update(FIXED)

"""Rows of the table of operations: Fourier transforms."""
from __future__ import annotations

from operation import Operation, cplx, real, row

from funcgrad import lax
from funcgrad import numpy as fnp
from funcgrad.scipy.fft import dct, dctn


def _parts(z):
    return fnp.real(z), fnp.imag(z)


def rows() -> list[Operation]:
    return [
        row("fft", lambda z: lax.fft(z, "FFT", (3,)), cplx(3), float32=False),
        row("ifft", lambda z: lax.fft(z, "IFFT", (2, 3)), cplx(2, 3), float32=False),
        row("rfft odd", lambda v: _parts(fnp.fft.rfft(v, axis=0)), real(5, 2)),
        row("rfft even", lambda v: _parts(fnp.fft.rfft(v)), real(4)),
        row("rfftn", lambda v: _parts(fnp.fft.rfftn(v, (2, 3), norm="ortho")), real(3, 2)),
        row("irfft odd", lambda z: lax.fft(z, "IRFFT", (5,)), cplx(3), float32=False),
        row("irfftn even", lambda z: lax.fft(z, "IRFFT", (2, 4)), cplx(2, 3), float32=False),
        row("dct", lambda v: dct(v, axis=0), real(4, 2)), row("dctn", lambda v: dctn(v, 3, norm="ortho"), real(2, 3)),
    ]

"""The native virtual machine: runs an instruction table over a frame, in one call however many steps there are.

In: the address of a program and that of a frame. Out: 0 when the program is done, or what Python has to do before it
calls again. Compiled once by ``cpu.py``; here is only the source.

A program is a list of int64: where the instructions, operands and sizes are, how many arrays Python passes, the addresses of
the parallel loop and its worker, where to find how many threads there are, the address of ``execute`` itself. A frame is what
one call writes: the program counter, the arrays passed, the base address of every buffer, room for the operands of one
instruction, loop counters. An instruction is ``WIDTH`` words; an operand is a buffer and an offset in bytes.
"""
from __future__ import annotations

from numba import njit

from funcgrad.compiler.access import (
    byte,
    call_for_int,
    call_kernel,
    call_pointers,
    first_hidden,
    room,
    second_hidden,
    set_word,
    short,
    word,
)

WIDTH = 8
END, KERNEL, GEMM, HOST, ITERATE, NEXT, RESET, UNLESS, SWITCH, JUMP, REGION = range(11)

# Places in a program.
INSTRUCTIONS, OPERANDS, SIZES, ARRAYS, ARRAY_TYPE, PARALLEL_FOR, WORKER, BLAS_THREADS, SET_BLAS_THREADS, THREADS, EXECUTE = \
    range(11)
# Places in a frame; the arrays that Python passes follow, then the bases, then the rest. The first word is lost: there
# Numba's calling convention puts a result, and a function without one writes 0.
NOTHING, BASES, POINTERS, LOOPS, COUNTER, STATUS, PASSED = range(7)

# The layout of NumPy's array object, which is part of its binary interface.
TYPE_AT, DATA_AT, FLAGS_AT = 8, 16, 64
USABLE = 0x101  # C-contiguous and aligned

# Places in the sizes of a GEMM: the arguments of BLAS in its order, then how the matrices of a batch follow
# each other, then two sizes of the last one.
GEMM_TRANS_A, GEMM_TRANS_B, GEMM_M, GEMM_N, GEMM_K, GEMM_LDA, GEMM_LDB, GEMM_LDC, GEMM_ALPHA, _, GEMM_BETA, _, \
    GEMM_OUTER, GEMM_INNER, GEMM_STRIDES = range(15)
GEMM_LAST_M, GEMM_LAST_N = GEMM_STRIDES + 6, GEMM_STRIDES + 7


def execute():
    """Runs from the program counter on; the status is 0 at the end, else what Python has to do before it calls again.

    Its number + 1 for a host step; -1 - its number for an array that is not contiguous.
    """
    frame, program = first_hidden(), second_hidden()
    counter = word(frame, COUNTER)
    bases = frame + 8 * word(frame, BASES)
    pointers = frame + 8 * word(frame, POINTERS)
    loops = frame + 8 * word(frame, LOOPS)
    operands = word(program, OPERANDS)
    sizes = word(program, SIZES)
    status = 0
    if counter == 0:
        for i in range(word(program, ARRAYS)):
            array = word(frame, PASSED + i)
            if word(array + TYPE_AT, 0) != word(program, ARRAY_TYPE):
                set_word(bases, i, array + DATA_AT)
            elif short(array + FLAGS_AT) & USABLE == USABLE:
                set_word(bases, i, word(array + DATA_AT, 0))
            else:
                status = -1 - i
                break
    while status == 0:
        at = word(program, INSTRUCTIONS) + 8 * WIDTH * counter
        kind = word(at, 0)
        counter += 1
        if kind == KERNEL:
            resolve(pointers, bases, operands + 16 * word(at, 2), word(at, 3))
            count, chunk = word(at, 5), word(at, 6)
            threads = alone(program) if word(at, 7) else 1
            if count <= chunk:
                call_kernel(word(at, 1), pointers, sizes + 8 * word(at, 4), 0, count)
            else:
                in_parallel(program, at, pointers, (count + chunk - 1) // chunk)
            together(program, threads)
        elif kind == GEMM:
            resolve(pointers, bases, operands + 16 * word(at, 2), 3)
            matrices = word(at, 5)
            if word(at, 6) < matrices:
                threads = alone(program)
                in_parallel(program, at, pointers, matrices)
                together(program, threads)
            else:
                multiply(at, pointers, sizes, 0, matrices)
        elif kind == REGION:
            for i in range(counter, counter + word(at, 1)):
                row = word(program, INSTRUCTIONS) + 8 * WIDTH * i
                resolve(pointers + 8 * place_in_region(at, row), bases, operands + 16 * word(row, 2), word(row, 3))
            in_parallel(program, at, pointers, word(at, 2))
            counter += word(at, 1)
        elif kind == HOST:
            status = word(at, 1) + 1
        elif kind == ITERATE:
            counter = iterate(loops, bases, operands, at, counter)
        elif kind == NEXT:
            swap(bases, operands + 16 * word(at, 3), word(at, 4))
            set_word(loops, word(at, 1), word(loops, word(at, 1)) + 1)
            counter = word(at, 2)
        elif kind == RESET:
            set_word(loops, word(at, 1), 0)
            move(bases, operands + 16 * word(at, 2), word(at, 3), 0)
        elif kind == UNLESS:
            resolve(pointers, bases, operands + 16 * word(at, 1), 1)
            if byte(word(pointers, 0)) == 0:
                counter = word(at, 2)
        elif kind == SWITCH:
            resolve(pointers, bases, operands + 16 * word(at, 1), 1)
            index = short(word(pointers, 0)) if word(at, 2) == 4 else byte(word(pointers, 0))
            counter = word(sizes, word(at, 4) + min(max(index, 0), word(at, 3) - 1))
        elif kind == JUMP:
            counter = word(at, 1)
        else:
            break
    set_word(frame, COUNTER, counter)
    set_word(frame, STATUS, status)


@njit(error_model="numpy")
def alone(program):
    """Leaves each product to the thread that calls BLAS; how many threads BLAS had before."""
    threads = call_for_int(word(program, BLAS_THREADS)) if word(program, BLAS_THREADS) else 1
    if threads > 1:
        call_pointers(word(program, SET_BLAS_THREADS), (1,))
    return threads


@njit(error_model="numpy")
def together(program, threads):
    """Gives BLAS its threads back."""
    if threads > 1:
        call_pointers(word(program, SET_BLAS_THREADS), (threads,))


@njit(error_model="numpy")
def resolve(pointers, bases, operands, count):
    """The addresses of some operands."""
    for i in range(count):
        set_word(pointers, i, word(bases, word(operands, 2 * i)) + word(operands, 2 * i + 1))


@njit(error_model="numpy")
def iterate(loops, bases, operands, at, counter):
    """The next iteration of a counted loop, with its slices in place, or what follows the loop."""
    step, length = word(loops, word(at, 1)), word(at, 2)
    if step >= length:
        return word(at, 6)
    index = length - 1 - step if word(at, 3) else step
    move(bases, operands + 16 * word(at, 4), word(at, 5), index)
    return counter


@njit(error_model="numpy")
def move(bases, moves, count, index):
    """Places buffers at a slice of others: buffer, other buffer, offset, bytes from slice to slice."""
    for i in range(count):
        at = moves + 32 * i
        set_word(bases, word(at, 0), word(bases, word(at, 1)) + word(at, 2) + word(at, 3) * index)


@njit(error_model="numpy")
def swap(bases, pairs, count):
    """Exchanges the memory of pairs of buffers: what a step wrote is what the next one reads."""
    for i in range(count):
        a, b = word(pairs, 2 * i), word(pairs, 2 * i + 1)
        first = word(bases, a)
        set_word(bases, a, word(bases, b))
        set_word(bases, b, first)


@njit(error_model="numpy")
def multiply(at, pointers, sizes, start, stop):
    """Some of the matrix products of a batch, by BLAS."""
    g = sizes + 8 * word(at, 4)
    inner = word(g, GEMM_INNER)
    a, b, c = word(pointers, 0), word(pointers, 1), word(pointers, 2)
    final = word(g, GEMM_OUTER) * inner - 1
    for i in range(start, stop):
        m, n = (GEMM_M, GEMM_N) if i < final else (GEMM_LAST_M, GEMM_LAST_N)
        x, y = i // inner, i % inner
        s = GEMM_STRIDES
        call_pointers(word(at, 1), (
            g + 8 * GEMM_TRANS_A, g + 8 * GEMM_TRANS_B, g + 8 * m, g + 8 * n, g + 8 * GEMM_K,
            g + 8 * GEMM_ALPHA, a + x * word(g, s) + y * word(g, s + 1), g + 8 * GEMM_LDA,
            b + x * word(g, s + 2) + y * word(g, s + 3), g + 8 * GEMM_LDB, g + 8 * GEMM_BETA,
            c + x * word(g, s + 4) + y * word(g, s + 5), g + 8 * GEMM_LDC, 1, 1))


@njit(error_model="numpy")
def in_parallel(program, at, pointers, pieces):
    """Runs the pieces of one instruction on all threads, by the loop of Numba's threading layer; or all on this one."""
    space = room(8)
    set_word(space, 0, 0)  # the pieces are counted from here, in steps of one
    set_word(space, 1, pieces)
    set_word(space, 2, 1)
    set_word(space, 3, at)
    set_word(space, 4, pointers)
    set_word(space, 5, word(program, SIZES))
    threads = word(word(program, THREADS), 0)
    if word(program, PARALLEL_FOR) == 0 or threads == 1:
        call_pointers(word(program, WORKER), (space, space + 8, space + 16, space + 24))
    else:
        call_pointers(word(program, PARALLEL_FOR), (
            word(program, WORKER), space, space + 8, space + 16, space + 24, 0, 1, threads))


@njit(error_model="numpy")
def place_in_region(at, row):
    """Where the operands of a kernel are among those of its region, which begins at ``at``."""
    return word(row, 2) - word(at + 8 * WIDTH, 2)


@njit(error_model="numpy")
def chunks(at, pointers, sizes, start, stop):
    """Some chunks of the rows of a kernel."""
    total, chunk = word(at, 5), word(at, 6)
    for piece in range(start, stop):
        call_kernel(word(at, 1), pointers, sizes + 8 * word(at, 4), piece * chunk, min((piece + 1) * chunk, total))


def work(steps, data):
    """Some pieces of an instruction: C calls it with the first piece, how many, the steps and what ``in_parallel`` set."""
    first = word(first_hidden(), 0)
    count = word(second_hidden(), 0)
    at, pointers, sizes = word(data, 0), word(data, 1), word(data, 2)
    if word(at, 0) == KERNEL:
        chunks(at, pointers, sizes, first, first + count)
    elif word(at, 0) == REGION:
        passed = 0
        for i in range(word(at, 1)):
            row = at + 8 * WIDTH * (i + 1)
            pieces = max((word(row, 5) + word(row, 6) - 1) // word(row, 6), 1)
            start, stop = max(first - passed, 0), min(first + count - passed, pieces)
            chunks(row, pointers + 8 * place_in_region(at, row), sizes, start, stop)
            passed += pieces
    else:
        multiply(at, pointers, sizes, first, first + count)

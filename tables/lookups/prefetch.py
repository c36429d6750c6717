"""A hint to the processor, in compiled loops: a row will be needed soon. Rows lie where no pattern foretells them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_LINE_BYTES = 64
_FOR_READING, _KEEP_LONG, _DATA = 0, 3, 1


def _prefetch_row(typing_context: Any, array: Any, row: Any) -> Any:
    """Begin to load the lines of a row of a matrix; compiled code alone can call it, without the first argument.

    Args:
        typing_context: of numba.
        array: a matrix whose rows are contiguous.
        row: its number, within the matrix.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type, row_type = signature.args
        matrix = context.make_array(array_type)(context, builder, arguments[0])
        row_bytes, value_bytes = cgutils.unpack_tuple(builder, matrix.strides, 2)
        width = cgutils.unpack_tuple(builder, matrix.shape, 2)[1]
        begin = builder.mul(context.cast(builder, arguments[1], row_type, types.intp), row_bytes)
        memory = builder.bitcast(matrix.data, cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [memory.type, number, number, number])
        hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        flags = [number(_FOR_READING), number(_KEEP_LONG), number(_DATA)]
        with cgutils.for_range_slice(
            builder,
            context.get_constant(types.intp, 0),
            builder.mul(width, value_bytes),
            context.get_constant(types.intp, _LINE_BYTES),
            inc=True,
        ) as (offset, _):
            builder.call(hint, [builder.gep(memory, [builder.add(begin, offset)]), *flags])
        return context.get_dummy_value()

    return types.void(array, row), generate


prefetch_row: Any = intrinsic(_prefetch_row)

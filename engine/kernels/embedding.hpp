#pragma once

#include <cstdint>

namespace xtape::kernels {

using Index = std::int64_t;

/// y row t (+)= table row ids[t].
template <class T>
void gather_rows(Index rows, Index columns, const T* table, const std::int32_t* ids, T* y, bool accumulate);

/// table row ids[t] += x row t, in the order of t; the table has `table_rows` rows and is zeroed first unless
/// accumulate is set.
template <class T>
void scatter_rows(Index rows, Index columns, const T* x, const std::int32_t* ids, Index table_rows, T* table,
                  bool accumulate);

}  // namespace xtape::kernels

// How tensors print.

#include <xtape/engine/xtensor.hpp>

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 warns of std::string's operator+ in xio without cause (PR 105651).
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#pragma GCC diagnostic ignored "-Wrestrict"
#endif
#if __has_include(<xtensor/io/xio.hpp>)
#include <xtensor/io/xio.hpp>
#else
#include <xtensor/xio.hpp>
#endif

namespace xtape {

template <class T> std::ostream& operator<<(std::ostream& out, const Tensor<T>& x) {
    if (!x) return out << "an empty tensor";
    return out << to_string(x.shape()) << '\n' << x.array();
}

template std::ostream& operator<<(std::ostream&, const Tensor<float>&);
template std::ostream& operator<<(std::ostream&, const Tensor<double>&);
template std::ostream& operator<<(std::ostream&, const Tensor<std::int32_t>&);

}  // namespace xtape

// inverted_residual.h for every processor.
#include "inverted_residual_strip.h"
#include "simd_portable.h"

namespace rmnet {

const InvertedResidualKernels portable_inverted_residual =
    inverted_residual_kernels<SimdPortable>();

}  // namespace rmnet

// winograd.h for every processor.
#include "simd_portable.h"
#include "winograd_kernels.h"

namespace rmnet {

const WinogradKernels portable_winograd = winograd_kernels<SimdPortable>();

}  // namespace rmnet

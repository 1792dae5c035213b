// attention.h for every processor.
#include "attention_kernels.h"
#include "simd_portable.h"

namespace rmnet {

const AttentionTable portable_attention = attention_table<SimdPortable>();

}  // namespace rmnet

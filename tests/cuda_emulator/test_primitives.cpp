// Checks of the emulator itself: `test_primitives NAME...` runs those of right_kernels.h, which end
// with status 0, and of wrong_kernels.h, which must not.
#include <cstring>

#include "right_kernels.h"
#include "wrong_kernels.h"

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    bool found = false;
    const auto run = [&](const Check& check) {
      if (std::strcmp(check.name, arguments[i]) != 0) return;
      check.run();
      found = true;
    };
    for (const Check& check : kRight) {
      run(check);
    }
    for (const Check& check : kWrong) {
      run(check);
    }
    if (!found) fail("no check %s", arguments[i]);
  }
}

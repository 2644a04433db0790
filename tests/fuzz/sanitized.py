"""`python -m tests.fuzz` for a core built with AddressSanitizer (`make fuzz-sanitized`)."""

import os

# AddressSanitizer ends a process that loads a library with RTLD_DEEPBIND, as capstone does where it
# can. Child processes import this module first, too.
del os.RTLD_DEEPBIND

from tests.fuzz.__main__ import main  # noqa: E402

if __name__ == "__main__":
    main()

"""Lightning logs to the error stream that it found when it was imported.

So it must not be imported inside a test, whose stream is closed when the test ends.
"""

import lightning as lightning

"""MONAI without packages that it imports though nothing here uses them through it.

They are there all the same for a plugin that imports them itself.
"""

import sys

UNUSED = ("mlflow", "optuna")  # 1.5 s and 1.3 s; MONAI takes them for not installed

kept = {name: sys.modules.pop(name) for name in UNUSED if name in sys.modules}
for name in UNUSED:
    sys.modules[name] = None  # type: ignore[assignment]
try:
    import monai  # noqa: F401
finally:
    for name in UNUSED:
        del sys.modules[name]
    sys.modules.update(kept)

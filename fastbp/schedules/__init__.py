"""Learning-rate schedules: factors that multiply the optimizer's own rate, one for each step.

`factors` depends on nothing but its arguments, so a resumed run sees the rates that the
uninterrupted one saw. `Plateau` is the exception: it looks at what training achieves, and its
`state()` belongs into a checkpoint.
"""

from typing import TYPE_CHECKING

from fastbp._lazy import lazily

if TYPE_CHECKING:
    from fastbp.schedules._base import Constant, Schedule
    from fastbp.schedules._curves import Cosine, OneCycle, Step
    from fastbp.schedules._names import NAMES, from_dict, from_name
    from fastbp.schedules._plateau import Plateau, is_better, larger_is_better, monitored
else:
    __getattr__, __dir__ = lazily(__name__, {
        "_base": "Constant Schedule",
        "_curves": "Cosine OneCycle Step",
        "_names": "NAMES from_dict from_name",
        "_plateau": "Plateau is_better larger_is_better monitored",
    })

__all__ = ["NAMES", "Constant", "Cosine", "OneCycle", "Plateau", "Schedule", "Step", "from_dict",
           "from_name", "is_better", "larger_is_better", "monitored"]

"""The one door: `patientfold <command>`, or `python -m pipeline <command>`."""

import sys
from importlib import import_module

COMMANDS = {
    "cv": "pipeline.commands.cv",
    "check": "pipeline.commands.check",
    "plan": "pipeline.commands.plan",
    "make-manifest": "pipeline.commands.make_manifest",
    "canary": "pipeline.commands.canary",
    "leakage-cost": "pipeline.commands.leakage_cost",
    "sync": "pipeline.commands.sync",
    "demo": "pipeline.commands.demo",
}


def main() -> None:
    """Run the command that the first argument names."""
    name = sys.argv.pop(1)
    import_module(COMMANDS[name]).run()


if __name__ == "__main__":
    main()

"""The commands, a thin file each: what `patientfold <command>` does, from top to bottom."""

"""The report of a finished run, from its folder alone; a section is a module in sections/."""

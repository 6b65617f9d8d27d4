"""What a finished run says of itself, for people: from its folder alone, without torch.

Of report.html each section is a module in sections/; report.md is made by paper/.
"""

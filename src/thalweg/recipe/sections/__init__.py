"""The sections of a recipe, one file each: ``check`` completes the plain data, ``make`` builds what they describe."""

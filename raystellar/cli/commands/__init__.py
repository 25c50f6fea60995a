"""The commands of the program, one module each: options, settings, action and examples stand together."""

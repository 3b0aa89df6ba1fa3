"""What every service of the runtime shares; imports no slice."""

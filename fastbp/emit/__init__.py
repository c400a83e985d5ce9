"""From operands to instructions: how each operation is divided into tasks."""

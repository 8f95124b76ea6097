"""Mail, pushes and the command after an import."""

"""Shadow mode: decisions beside Pod's CRON, compared and never carried out."""

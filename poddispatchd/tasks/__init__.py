"""What several rooms do with tasks: transitions, administration, ids, forecasts, the order by fair share."""

"""One app, one event stream, one page with a view for each verb."""

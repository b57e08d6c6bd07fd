"""``instructrec serve``: a JSON API and a page for people."""

"""An artefact behind HTTP: a service, and a page to search it with. Without torch."""

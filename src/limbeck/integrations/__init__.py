"""Artefacts inside other programs: a module a host, such as `limbeck.integrations.langchain`, which alone imports it."""

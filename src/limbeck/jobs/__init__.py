"""The jobs that users ask for, as functions; the command line has a verb for each."""

"""The pure core: costed DAGs, scenarios, quantities, cuts. Imports nothing else of Kerf."""

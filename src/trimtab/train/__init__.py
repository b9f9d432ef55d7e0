"""Fine-tuning: data, the loop, recipes, the plan before a run and the report after it."""

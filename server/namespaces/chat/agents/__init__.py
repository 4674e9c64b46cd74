"""Those who answer in chat without being people: one file per kind of backend."""

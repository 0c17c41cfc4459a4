"""The scheduler in virtual time: a world that ends what it starts and checks each decision."""

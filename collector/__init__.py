"""The collector: takes windows from agents, stores them in ClickHouse, and answers queries."""

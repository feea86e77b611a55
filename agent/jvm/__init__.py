"""Names of the code that Java VMs compile while they run."""

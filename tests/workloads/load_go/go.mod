module load_go

go 1.21

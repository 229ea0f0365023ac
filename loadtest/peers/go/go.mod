module idlewild/peers

go 1.24

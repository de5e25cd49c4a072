autocmd BufRead,BufNewFile *.vmoe setfiletype vmoe

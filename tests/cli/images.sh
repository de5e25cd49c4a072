# Image folders. Part of run.sh, which reads it where all parts stand in
# one folder with what the parts before it made.

# ---- image folders -------------------------------------------------------------------------------

pictures pictures
tar cf pictures.tar pictures/train pictures/test --transform 's,^pictures/,,'
sed 's/B, 1, size/B, 3, size/; s/idx(dir = "data"/image_folder(dir = "pictures"/' $F > pictures.vmoe
want 0 'test accuracy' 'train on a folder of images' \
    "$VMOEC" train pictures.vmoe --epochs 3 --quiet --out folder --overwrite
want 0 'test accuracy' 'train on an archive of images' \
    "$VMOEC" train pictures.vmoe --epochs 3 --quiet --out archive --overwrite --data pictures.tar
same 'folder and archive give the same weights' folder/weights.safetensors \
    archive/weights.safetensors
want 0 'on 4 test images' 'evaluate on a folder of images' \
    "$VMOEC" eval pictures.vmoe --weights folder/weights.safetensors
want 0 'data set *5.5 KiB' 'the memory of images' "$VMOEC" info pictures.vmoe
echo hello > pictures/train/red/notes.txt
want 0 'warning: skipped 1 file.*train/red/notes.txt' 'a file that is no image' \
    "$VMOEC" train pictures.vmoe --steps 1 --quiet --out folder --overwrite
mkdir pictures/test/black
picture red > pictures/test/black/0.png
want 1 "class 'black' of test/ is none of the 4 that the weights know" 'an unknown class' \
    "$VMOEC" eval pictures.vmoe --weights folder/weights.safetensors
rm -r pictures/test/black
picture red | head -c 60 > pictures/train/red/3.png
want 1 'pictures/train/red/3.png: damaged PNG' 'half an image' \
    "$VMOEC" train pictures.vmoe --steps 1 --quiet --out folder --overwrite
mkdir pictures/train/black
picture red | tee pictures/train/black/0.png > pictures/train/red/3.png
want 1 'the data has 5 classes (black, .*) but the logits of tiny have 4' \
    'more classes than logits' \
    "$VMOEC" train pictures.vmoe --steps 1 --quiet --out folder --overwrite
want 3 'tried nowhere/train/' 'a folder of images that is not there' \
    "$VMOEC" train pictures.vmoe --data nowhere
sed 's/B, 3, size/B, 1, size/' pictures.vmoe > grey.vmoe
want 1 'grey.vmoe:.*data-shape' 'colours for a grey model' "$VMOEC" check grey.vmoe
sed 's/dir = "pictures"/dir = "pictures", channels = 1, mean = 0.4/
     s/class\[B, 4\]/class[B, 5]/; s/axis = 1), 4/axis = 1), 5/' grey.vmoe > grey1.vmoe
want 0 'test accuracy' 'grey images for a grey model' \
    "$VMOEC" train grey1.vmoe --steps 2 --quiet --out grey --overwrite

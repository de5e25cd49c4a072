"""The models of models/*.vmoe as plain numbers, for the programs that build them in other
frameworks.

Parameter counts are compared with `vmoec info` before anything is timed, so a model that drifts
apart is found."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """What every model has."""

    file: str
    batch: int
    size: int
    channels: int
    classes: int
    balance: float = 0.0
    optimizer: str = "adamw"  # or "sgd", with momentum 0.9
    decay: float = 0.05
    settings: tuple = ()  # of the file, where its defaults are not what the others do

    @property
    def words(self):
        """The file and its settings, as vmoec takes them."""
        return [self.file, *(word for setting in self.settings for word in ("--set", setting))]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec(Model):
    """A vision transformer, pre-norm unless `post_norm`; `sparse` lists the blocks that are
    mixtures."""

    patch: int
    dim: int
    depth: int
    heads: int
    hidden: int
    experts: int
    top_k: int
    sparse: tuple
    class_token: bool = False
    position: str = "learned"  # "learned", "sincos" (not on the class token) or "none"
    balance: float = 0.01
    post_norm: bool = (
        False  # system G1: post-norm with dropout, a mixture appended to blocks of `sparse`
    )
    dropout: float = 0.0

    @property
    def tokens(self):
        return (self.size // self.patch) ** 2

    @property
    def patch_numbers(self):
        return self.patch * self.patch * self.channels


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvNet(Model):
    """A convolutional network: "cnn" (two convolutions), "convnext" or "resnet"."""

    kind: str
    dims: tuple = ()
    depths: tuple = ()
    patch: int = 4  # kernel and stride of the stem
    stem_norm: bool = True
    layer_scale: bool = True
    drop_path: float = 0.0  # of the last block; the first has none
    ratio: int = 4
    sparse: tuple = ()  # (stage, block) that are mixtures
    experts: int = 8
    top_k: int = 1


ZOO = {
    "vmoe_fmnist": Spec(
        file="models/vmoe_fmnist.vmoe",
        batch=128,
        size=28,
        channels=1,
        patch=7,
        dim=128,
        depth=4,
        heads=4,
        hidden=256,
        classes=10,
        experts=8,
        top_k=2,
        sparse=(1, 3),
    ),
    "mnist_moe": Spec(
        file="models/mnist_moe.vmoe",
        batch=64,
        size=32,
        channels=1,
        patch=16,
        dim=128,
        depth=3,
        heads=4,
        hidden=256,
        classes=10,
        experts=4,
        top_k=2,
        sparse=(2,),
        position="none",
        balance=0.0,
        post_norm=True,
        dropout=0.1,
        decay=0.0,
    ),
    "cifar_encoder": Spec(
        file="models/cifar_encoder.vmoe",
        batch=128,
        size=36,
        channels=3,
        patch=3,
        dim=192,
        depth=6,
        heads=12,
        hidden=384,
        classes=100,
        experts=4,
        top_k=1,
        sparse=(0, 1, 2, 3, 4, 5),
        class_token=True,
        position="sincos",
    ),
    "deit_ti_moe": Spec(
        file="models/deit_ti_moe.vmoe",
        batch=16,
        size=224,
        channels=3,
        patch=16,
        dim=192,
        depth=12,
        heads=3,
        hidden=768,
        classes=1000,
        experts=10,
        top_k=2,
        sparse=(10, 11),
        class_token=True,
    ),
    "vit_s8": Spec(
        file="models/vit_s8.vmoe",
        batch=16,
        size=224,
        channels=3,
        patch=16,
        dim=384,
        depth=12,
        heads=6,
        hidden=1536,
        classes=1000,
        experts=8,
        top_k=2,
        sparse=(1, 3, 5, 7, 9, 11),
        class_token=True,
        settings=("priority=false",),
    ),
    "mnist_cnn": ConvNet(
        file="models/mnist_cnn.vmoe",
        batch=64,
        size=32,
        channels=1,
        classes=10,
        kind="cnn",
        decay=0.0,
    ),
    "convnext": ConvNet(
        file="models/convnext.vmoe",
        batch=16,
        size=224,
        channels=3,
        classes=1000,
        kind="convnext",
        dims=(96, 192, 384, 768),
        depths=(3, 3, 9, 3),
        drop_path=0.1,
    ),
    "convnext_moe": ConvNet(
        file="models/convnext_moe.vmoe",
        batch=16,
        size=224,
        channels=3,
        classes=1000,
        kind="convnext",
        dims=(96, 192, 384, 768),
        depths=(3, 3, 9, 3),
        drop_path=0.1,
        sparse=((2, 8), (3, 2)),
        balance=0.005,
    ),
    "convnext_iso": ConvNet(
        file="models/convnext_iso.vmoe",
        batch=16,
        size=224,
        channels=3,
        classes=1000,
        kind="convnext",
        dims=(384,),
        depths=(18,),
        patch=16,
        stem_norm=False,
        layer_scale=False,
        drop_path=0.1,
        sparse=((0, 15), (0, 17)),
        balance=0.005,
        settings=("sparse=[15,17]",),
    ),
    "resnet18": ConvNet(
        file="models/resnet18.vmoe",
        batch=16,
        size=224,
        channels=3,
        classes=1000,
        kind="resnet",
        dims=(64, 128, 256, 512),
        depths=(2, 2, 2, 2),
        optimizer="sgd",
        decay=1e-4,
    ),
}

# What is compared in inference: the models' dense twins, plain layers in the place of mixtures.
TWINS = {
    "ViT-Ti": "deit_ti_moe",
    "ViT-S": "vit_s8",
    "CIFAR encoder": "cifar_encoder",
    "ConvNeXt-T": "convnext",
}


def dense(name):
    return dataclasses.replace(ZOO[name], sparse=())

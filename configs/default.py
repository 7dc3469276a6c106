"""Every field with its default. The other configurations are a few lines over this one.

`--config.GROUP.FIELD=VALUE` on the command line overrides any of them.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The defaults: a small U-Net on the synthetic street scenes."""
    c = ConfigDict()
    c.seed = 0  # of the initial parameters, the order of examples, and every augmentation

    c.data = d = ConfigDict()
    d.source = "synthetic"  # where examples come from: synthetic, folder
    d.dir = ""  # directory of the data set (folder)
    d.train_split = "train"  # split to learn from
    d.val_split = "val"  # split to evaluate on
    d.images = "{split}"  # directory of photographs below data.dir (folder)
    d.masks = "{split}annot"  # directory of masks below data.dir, matched by file stem (folder)
    d.mask_suffix = ""  # what a mask's stem has after the photograph's, such as "_mask" (folder)
    d.list = ""  # instead of a search: file of 'image mask' lines below data.dir, such as "{split}.txt" (folder)
    d.labels = ""  # built-in label table (camvid) or path of a class_names.json; "": data.dir/class_names.json
    d.size = (0, 0)  # (height, width) that images are resized to; (0, 0): as stored
    d.mean = (0.485, 0.456, 0.406)  # subtracted from images in 0..1; ImageNet's
    d.std = (0.229, 0.224, 0.225)  # what they are divided by afterwards
    d.cache = "host"  # "host": decode once and keep in memory; "none": read files at every step
    d.skip_bad = False  # leave unusable examples out and list them in the report, instead of stopping
    d.threads = 4  # files read and decoded at once
    d.prefetch = 2  # batches prepared ahead when reading from files
    d.synthetic = ConfigDict()
    d.synthetic.train_scenes = 800  # scenes to learn from
    d.synthetic.val_scenes = 100  # scenes to evaluate on

    c.augment = a = ConfigDict()
    a.crop = (0, 0)  # (height, width) of training crops; (0, 0): the whole image
    a.flip = 0.5  # probability of a horizontal flip
    a.scale = (1.0, 1.0)  # range of the zoom factor
    a.rotate = 0.0  # largest rotation, degrees
    a.translate = 0.0  # largest shift, share of the crop
    a.brightness = 0.0  # factor drawn from 1 +- this
    a.contrast = 0.0  # factor drawn from 1 +- this
    a.saturation = 0.0  # factor drawn from 1 +- this
    a.hue = 0.0  # largest turn of the hue, share of the colour circle

    c.model = m = ConfigDict()
    m.name = "unet"  # decoder: unet, deeplabv3plus
    m.norm = "batch"  # normalisation: batch, group, none
    m.dropout = 0.0  # rate, at the places that the architecture's paper names
    m.dtype = "float32"  # of the computation: float32, bfloat16; parameters, statistics and loss stay float32
    m.decoder_channels = ()  # unet: channels of each upward step; (): mirrors the encoder
    m.upsampling = "transpose"  # unet: transpose, nearest, bilinear
    m.aspp_rates = (6, 12, 18, 24)  # deeplabv3plus: dilations of the spatial pyramid
    m.encoder = ConfigDict()
    m.encoder.name = "plain"  # plain (U-Net's own), resnet18, resnet34, resnet50, resnet101
    m.encoder.width = 32  # plain: channels at full resolution
    m.encoder.depth = 4  # plain: how many times the resolution is halved
    m.encoder.output_stride = 16  # resnet: input size / size of the coarsest features, 8, 16 or 32

    c.loss = ls = ConfigDict()
    ls.name = "cross_entropy"  # cross_entropy
    ls.class_weights = ()  # one weight for each class; (): equal
    ls.label_smoothing = 0.0  # share of the target spread over all classes

    c.optim = o = ConfigDict()
    o.name = "adamw"  # adam, adamw, sgd
    o.lr = 1e-3  # learning rate after warm-up
    o.schedule = "cosine"  # constant, cosine, polynomial
    o.warmup_steps = 0  # steps of linear growth of the learning rate
    o.weight_decay = 1e-4  # on kernels only
    o.momentum = 0.9  # sgd
    o.grad_clip = 0.0  # largest global norm of the gradient; 0: off

    c.train = t = ConfigDict()
    t.batch_size = 16  # images a step, over all devices
    t.steps = 0  # length of the run in steps; 0: see epochs
    t.epochs = 10.0  # length of the run in passes over the training split

    c.eval = e = ConfigDict()
    e.batch_size = 16  # images a step, over all devices
    e.every_steps = 0  # evaluate after this many steps; 0: see every_epochs
    e.every_epochs = 1.0  # evaluate after this many passes; 0: at the end only
    e.panels = 4  # photographs shown as image | truth | prediction | error

    c.early_stop = s = ConfigDict()
    s.patience = 0  # stop after this many evaluations without improvement; 0: never

    c.checkpoint = k = ConfigDict()
    k.every_steps = 0  # save after this many steps, besides at each evaluation; 0: only there
    k.keep_last = 2  # newest checkpoints to keep, besides the best
    k.metric = "miou"  # what "best" means: miou, fwiou, pixel_accuracy, mean_accuracy, loss

    c.log = g = ConfigDict()
    g.every_steps = 20  # write training metrics after this many steps
    g.tensorboard = True  # write TensorBoard events; metrics.jsonl is always written

    c.profile = p = ConfigDict()
    p.start_step = 10  # first step of the profiler's window
    p.steps = 0  # length of the window, written to WORKDIR/profile; 0: no profile
    return c

"""Every field with its default. The other configurations are a few lines over this one.

`--config.GROUP.FIELD=VALUE` on the command line overrides any of them.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The defaults: a small U-Net on the synthetic street scenes."""
    c = ConfigDict()
    c.seed = 0  # of the initial parameters, the order of examples, and every augmentation

    c.data = d = ConfigDict()
    d.source = "synthetic"  # examples from: synthetic, folder, arrays, cityscapes, huggingface, pairs, pets, tfds
    d.dir = ""  # directory of the data set
    d.train_split = "train"  # split to learn from
    d.val_split = "val"  # split to evaluate on
    d.images = "{split}"  # directory of photographs below data.dir, or a pattern such as "**/*_photo.jpg" (folder)
    d.masks = "{split}annot"  # the same of masks; * (a name) and ** (directories) are what a pair shares (folder)
    d.mask_suffix = ""  # what a mask's stem has after the photograph's, such as "_mask", in a directory (folder)
    d.mask_format = "auto"  # what masks hold: index, color, nearest (damaged colours); auto: as the channels are
    d.resize_masks = False  # bring masks to the size of their photographs (folder)
    d.val_share = 0.0  # share of the pairs to evaluate on, where no directory or list has "{split}" (folder)
    d.list = ""  # instead of a search: file of 'image mask' lines below data.dir, such as "{split}.txt" (folder)
    d.labels = ""  # label table: camvid, camvid32, camvid32_to_11, or a class_names.json, .csv, .txt; "": in data.dir
    d.merge = ""  # JSON file that unites classes, such as {"vehicle": ["car", "bus"], ..., "ignore": ["void"]}
    d.ignore_classes = ()  # names of classes whose pixels do not count, such as ("Void",)
    d.size = (0, 0)  # (height, width) that images are resized to; (0, 0): as stored
    d.mean = ()  # subtracted from images in 0..1; (): as the weights were trained with, ImageNet's without weights
    d.std = ()  # what they are divided by afterwards; (): as for data.mean
    d.cache = "host"  # decode once and keep in memory: "host", or that of every "device"; "none": read at every step
    d.skip_bad = False  # leave unusable examples out and list them in the report, instead of stopping
    d.threads = 4  # files read and decoded at once
    d.prefetch = 2  # batches prepared ahead when reading from files
    d.cityscapes = ConfigDict()
    d.cityscapes.labels = "trainids"  # the classes: trainids (19), ids (34), thirty (30), categories (8)
    d.cityscapes.cities = ()  # only these cities, such as ("aachen", "lindau"); (): all
    d.cityscapes.coarse = False  # the coarse annotations instead of the fine ones
    d.pairs = ConfigDict()
    d.pairs.train_size = 0  # how many files of the training split, drawn by seed; 0: all
    d.pairs.cleanup = False  # repair JPEG's damage along the borders in masks; False: plain nearest colour
    d.pets = ConfigDict()
    d.pets.border = "class"  # what the border of a pet is: class (its own), pet, background, ignore
    d.pets.val_share = 0.1  # share of the official trainval list that is the split "val"
    d.tfds = ConfigDict()
    d.tfds.name = ""  # builder of TensorFlow Datasets, such as "oxford_iiit_pet" or "cityscapes/semantic_segmentation"
    d.tfds.data_dir = ""  # directory of its prepared sets; "": ~/tensorflow_datasets
    d.tfds.image = ""  # feature with the photograph; "": the only one with 3 channels
    d.tfds.mask = ""  # feature with the mask; "": the only image with 1 channel
    d.huggingface = ConfigDict()
    d.huggingface.name = ""  # repository, such as "owner/name"; "": the saved folder data.dir
    d.huggingface.subset = ""  # which of the repository's configurations; "": its default
    d.huggingface.image = ""  # column with the photograph; "": found by its name
    d.huggingface.mask = ""  # column with the mask; "": found by its name
    d.huggingface.val_share = 0.1  # share of the training split to evaluate on, if there is no validation split
    d.synthetic = ConfigDict()
    d.synthetic.train_scenes = 800  # scenes to learn from
    d.synthetic.val_scenes = 100  # scenes to evaluate on

    c.augment = a = ConfigDict()
    a.crop = (0, 0)  # (height, width) of training crops; (0, 0): the whole image
    a.flip = 0.5  # probability of a horizontal flip
    a.vertical_flip = 0.0  # probability of a vertical flip
    a.scale = (1.0, 1.0)  # range of the zoom factor
    a.rotate = 0.0  # largest rotation, degrees
    a.shear = 0.0  # largest slant of what is upright, degrees
    a.translate = 0.0  # largest shift, share of the crop
    a.brightness = 0.0  # factor drawn from 1 +- this
    a.contrast = 0.0  # factor drawn from 1 +- this
    a.saturation = 0.0  # factor drawn from 1 +- this
    a.hue = 0.0  # largest turn of the hue, share of the colour circle
    a.grayscale = 0.0  # probability that nothing is left of the colours but their luma
    a.blur = 0.0  # probability of a Gaussian blur
    a.blur_sigma = (0.1, 2.0)  # range of its standard deviation, pixels of the crop
    a.noise = 0.0  # largest standard deviation of Gaussian noise, levels of 0..255
    a.randaugment = (0, 0)  # RandAugment: (operations drawn for each image, magnitude 0 to 10); (0, 0): off
    a.cutmix = 0.0  # probability that a box is replaced by that of the batch's next image
    a.classmix = 0.0  # probability that half of the classes of the batch's next image are pasted in

    c.model = m = ConfigDict()
    m.name = "unet"  # unet, deeplabv3(plus), pspnet, upernet, fpn, fcn32s, 16s, 8s, segnet, segformer, danet
    m.weights = ""  # of the whole network: a run directory, or a file of segmentation_models.pytorch or transformers
    m.norm = "batch"  # normalisation: batch, frozen (batch with its running statistics), group, none
    m.dropout = 0.0  # rate, at the places that the architecture's paper names
    m.remat = False  # compute the inside of blocks again in the backward pass, instead of keeping it: less memory
    m.dtype = "float32"  # of the computation: float32, bfloat16; parameters, statistics and loss stay float32
    m.decoder_channels = ()  # unet: channels of each upward step; (): mirrors the encoder
    m.channels = 0  # of the decoder (all but unet, segnet); 0: as in the paper
    m.upsampling = "transpose"  # unet: transpose, nearest, bilinear
    m.head_kernel = 1  # of the convolution that gives the logits: 1, or 3 as in segmentation_models.pytorch
    m.align_corners = False  # of bilinear upsampling; True as in segmentation_models.pytorch
    m.aspp_rates = (6, 12, 18, 24)  # deeplabv3, deeplabv3plus: dilations of the spatial pyramid
    m.separable = False  # deeplabv3, deeplabv3plus: 3x3 convolutions are depthwise separable
    m.pool_bins = (1, 2, 3, 6)  # pspnet, upernet: bins along an axis of the pooling pyramid
    m.encoder = ConfigDict()
    # plain (U-Net's own), vgg16, vgg16_bn, resnet18, 34, 50, 101, 152, mobilenet, mobilenetv2, efficientnet_b0 to b7,
    # convnext_tiny, convnext_small, mit_b0 to b5:
    m.encoder.name = "plain"  # the encoder, one of these
    m.encoder.weights = ""  # a weight file (Keras .h5, .safetensors, .pth), a run directory, "imagenet"; "": random
    m.encoder.style = "auto"  # arithmetic: torch, keras, smp, transformers; auto: of the weights
    m.encoder.norm = ""  # other than model.norm; "frozen" for a pretrained encoder and small batches
    m.encoder.width = 32  # plain: channels at full resolution
    m.encoder.alpha = 1.0  # mobilenet, mobilenetv2: width multiplier
    m.encoder.depth = 0  # how many times the resolution is halved; 0: as in the paper (plain 4, others 5)
    m.encoder.drop_path = 0.0  # efficientnet, convnext, mit: probability to leave out the last block in training
    m.encoder.output_stride = 0  # input size / size of the coarsest features: 8, 16, 32; 0: as in the model's paper

    c.loss = ls = ConfigDict()
    ls.weights = ConfigDict()  # the objective is the sum of these weights times the mean of each loss; 0: left out
    ls.weights.cross_entropy = 1.0  # of pixels
    ls.weights.focal = 0.0  # cross-entropy in which pixels count less that are right already
    ls.weights.ohem = 0.0  # cross-entropy of the hard pixels alone (online hard example mining, top-k)
    ls.weights.dice = 0.0  # overlap of regions, 2 TP / (2 TP + FP + FN)
    ls.weights.jaccard = 0.0  # soft IoU of regions
    ls.weights.tversky = 0.0  # overlap in which FP and FN weigh differently; with a gamma focal Tversky
    ls.weights.lovasz = 0.0  # Lovász-softmax: IoU of regions, by the order of the errors
    ls.weights.boundary = 0.0  # distance of errors to the true boundary, in pixels; 0.01 beside another loss
    ls.weights.distillation = 0.0  # divergence from the probabilities of loss.teacher
    ls.head = "softmax"  # softmax; sigmoid: each class by itself; binary: two classes from one logit
    ls.class_weights = ()  # one for each class, or ("median_frequency",) or another scheme of data.stats; (): equal
    ls.label_smoothing = 0.0  # share of the target spread over all classes (cross_entropy)
    ls.focal = ConfigDict()
    ls.focal.alpha = 0.25  # weight of a class that is there, 1 - alpha of one that is not; softmax: of the whole loss
    ls.focal.gamma = 2.0  # how much less pixels count that are right already
    ls.ohem = ConfigDict()
    ls.ohem.share = 0.1  # at least this share of the pixels, the hardest ones
    ls.ohem.threshold = 0.7  # and all whose true class has a lower probability; 0: the share alone (top-k)
    ls.tversky = ConfigDict()
    ls.tversky.alpha = 0.3  # of false positives
    ls.tversky.beta = 0.7  # of false negatives
    ls.tversky.gamma = 1.0  # exponent; 0.75 for the focal Tversky loss of its paper
    ls.teacher = ""  # run directory whose best checkpoint is distilled from
    ls.temperature = 2.0  # that the logits of teacher and student are divided by (distillation)
    ls.aux_weight = 0.4  # of the loss of auxiliary heads, in architectures that have them; 0: no such heads

    c.optim = o = ConfigDict()
    o.name = "adamw"  # adafactor, adam, adamw, lamb, muon, sgd
    o.lr = 1e-3  # learning rate after warm-up
    o.schedule = "cosine"  # constant, cosine, one_cycle, plateau, polynomial, step
    o.milestones = (0.6, 0.85)  # shares of the run after which `step` reduces the rate
    o.factor = 0.1  # by which `step` and `plateau` multiply the rate
    o.patience = 5  # evaluations without a better checkpoint.metric after which `plateau` reduces the rate
    o.warmup_steps = 0  # steps of linear growth of the learning rate
    o.weight_decay = 1e-4  # on kernels only
    o.momentum = 0.9  # of sgd and muon
    o.groups = ()  # (regular expression for whole paths, factor of the rate, factor of the decay), first fit holds
    o.ema = 0.0  # decay of an average of the weights, such as 0.999, to be evaluated and used; 0: none
    o.grad_clip = 0.0  # largest global norm of the gradient; 0: off

    c.finetune = f = ConfigDict()
    f.freeze = False  # the encoder stays as it is for the whole run, its statistics too
    f.freeze_steps = 0  # the encoder stays as it is for so many steps; 0: see freeze_epochs
    f.freeze_epochs = 0.0  # the encoder stays as it is for so many passes over the training split
    f.lr = 0.0  # learning rate after that, with warm-up and schedule anew; 0: optim's goes on
    f.encoder_lr = 1.0  # learning rate of the encoder relative to the decoder's
    f.layer_decay = 1.0  # the same for each stage of the encoder relative to the next deeper one

    c.train = t = ConfigDict()
    t.batch_size = 16  # images a step, over all devices
    t.steps = 0  # length of the run in steps; 0: see epochs
    t.epochs = 10.0  # length of the run in passes over the training split

    t.seeds = 1  # networks that are trained side by side, from as many seeds, and work together as one
    t.steps_per_dispatch = 1  # steps that run as one program, so that a fast device never waits for Python
    t.accumulate = 1  # parts of a batch that are worked on one after the other, to save memory
    t.nonfinite = "stop"  # at a loss or gradient that is not finite: stop, or skip the step and count it
    t.deterministic = False  # bit-equal runs on one kind of machine; costs speed on a GPU, a CPU always gives them

    c.mesh = m = ConfigDict()
    m.data = -1  # devices over which the images of a batch are split; -1: all that the other axes leave
    m.model = 1  # of these, devices over which large parameters and the optimizer's state are split too
    m.space = 1  # devices over which the rows of every image are split

    c.eval = e = ConfigDict()
    e.batch_size = 16  # images a step, over all devices
    e.every_steps = 0  # evaluate after this many steps; 0: see every_epochs
    e.every_epochs = 1.0  # evaluate after this many passes; 0: at the end only
    e.threshold = 0.0  # also score each class where its probability exceeds this (miou_above); 0: not
    e.averaged = True  # evaluate and predict with the average of the weights, where optim.ema keeps one
    e.panels = 4  # photographs shown as image | truth | prediction | error
    e.resolution = "network"  # mode eval: score at the size that the network sees, or "original": that of each image
    e.flip = False  # mode eval: mean over the image and its mirror image
    e.scales = (1.0,)  # mode eval: mean over the image at these sizes
    e.window = (0, 0)  # mode eval: (height, width) of windows that slide over the image; (0, 0): the whole image
    e.overlap = 0.25  # share that neighbouring windows have in common at least
    e.submission = ""  # mode eval: directory for predictions in the form of Cityscapes' evaluation server; "": none

    c.early_stop = s = ConfigDict()
    s.patience = 0  # stop after this many evaluations without improvement; 0: never

    c.checkpoint = k = ConfigDict()
    k.every_steps = 0  # save after this many steps, besides at each evaluation; 0: only there
    k.keep_last = 2  # newest checkpoints to keep, besides the best
    k.metric = "miou"  # what "best" means: miou, mean_dice, fwiou, pixel_accuracy, mean_accuracy, loss, miou_above

    c.log = g = ConfigDict()
    g.every_steps = 20  # write training metrics after this many steps
    g.tensorboard = True  # write TensorBoard events; metrics.jsonl is always written

    c.profile = p = ConfigDict()
    p.start_step = 10  # first step of the profiler's window
    p.steps = 0  # length of the window, written to WORKDIR/profile; 0: no profile
    return c

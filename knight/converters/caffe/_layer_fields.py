"""What the layers of a Caffe net are told: the fields of each kind's parameters, written as in `_fields`."""

LAYERS = """
ArgMaxParameter
    out_max_val 1 bool false
    top_k 2 uint32 1
    axis 3 int32

AxpyParameter
    axis 1 int32 1

BatchNormParameter
    use_global_stats 1 bool
    moving_average_fraction 2 float 0.999
    eps 3 float 1e-5

BiasParameter
    axis 1 int32 1
    num_axes 2 int32 1

ClipParameter
    min 1 float
    max 2 float

ConcatParameter
    concat_dim 1 uint32 1
    axis 2 int32 1

ConvolutionParameter
    num_output 1 uint32
    bias_term 2 bool true
    pad 3 uint32*
    kernel_size 4 uint32*
    group 5 uint32 1
    stride 6 uint32*
    pad_h 9 uint32 0
    pad_w 10 uint32 0
    kernel_h 11 uint32
    kernel_w 12 uint32
    stride_h 13 uint32
    stride_w 14 uint32
    axis 16 int32 1
    dilation 18 uint32*

CropParameter
    axis 1 int32 2
    offset 2 uint32*

DetectionOutputParameter
    enum CodeType CORNER=1 CENTER_SIZE=2 CORNER_SIZE=3
    num_classes 1 uint32
    share_location 2 bool true
    background_label_id 3 int32 0
    nms_param 4 NonMaximumSuppressionParameter
    code_type 6 CodeType CORNER
    keep_top_k 7 int32 -1
    variance_encoded_in_target 8 bool false
    confidence_threshold 9 float
    normalized_bbox 10 bool true

DropoutParameter
    dropout_ratio 1 float 0.5
    scale_train 2 bool true

DummyDataParameter
    num 2 uint32*
    channels 3 uint32*
    height 4 uint32*
    width 5 uint32*
    shape 6 BlobShape*

ELUParameter
    alpha 1 float 1

EltwiseParameter
    enum EltwiseOp PROD=0 SUM=1 MAX=2
    operation 1 EltwiseOp SUM
    coeff 2 float*
    stable_prod_grad 3 bool true

EmbedParameter
    num_output 1 uint32
    input_dim 2 uint32
    bias_term 3 bool true

ExpParameter
    base 1 float -1
    scale 2 float 1
    shift 3 float 0

FlattenParameter
    axis 1 int32 1
    end_axis 2 int32 -1

InnerProductParameter
    num_output 1 uint32
    bias_term 2 bool true
    axis 5 int32 1
    transpose 6 bool false

InputParameter
    shape 1 BlobShape*

InterpParameter
    height 1 int32 0
    width 2 int32 0
    zoom_factor 3 int32 1
    shrink_factor 4 int32 1
    pad_beg 5 int32 0
    pad_end 6 int32 0

LRNParameter
    enum NormRegion ACROSS_CHANNELS=0 WITHIN_CHANNEL=1
    local_size 1 uint32 5
    alpha 2 float 1
    beta 3 float 0.75
    norm_region 4 NormRegion ACROSS_CHANNELS
    k 5 float 1

LogParameter
    base 1 float -1
    scale 2 float 1
    shift 3 float 0

MVNParameter
    normalize_variance 1 bool true
    across_channels 2 bool false
    eps 3 float 1e-9

MemoryDataParameter
    batch_size 1 uint32
    channels 2 uint32
    height 3 uint32
    width 4 uint32

NonMaximumSuppressionParameter
    nms_threshold 1 float 0.3
    top_k 2 int32
    eta 3 float 1

NormalizeParameter
    across_spatial 1 bool true
    channel_shared 3 bool true
    eps 4 float 1e-10

PReLUParameter
    channel_shared 2 bool false

PermuteParameter
    order 1 uint32*

PoolingParameter
    enum PoolMethod MAX=0 AVE=1 STOCHASTIC=2
    enum RoundMode CEIL=0 FLOOR=1
    pool 1 PoolMethod MAX
    kernel_size 2 uint32
    stride 3 uint32 1
    pad 4 uint32 0
    kernel_h 5 uint32
    kernel_w 6 uint32
    stride_h 7 uint32
    stride_w 8 uint32
    pad_h 9 uint32 0
    pad_w 10 uint32 0
    global_pooling 12 bool false
    round_mode 13 RoundMode CEIL
    ceil_mode 14 bool true

PowerParameter
    power 1 float 1
    scale 2 float 1
    shift 3 float 0

PriorBoxParameter
    min_size 1 float*
    max_size 2 float*
    aspect_ratio 3 float*
    flip 4 bool true
    clip 5 bool false
    variance 6 float*
    img_size 7 uint32
    img_h 8 uint32
    img_w 9 uint32
    step 10 float
    step_h 11 float
    step_w 12 float
    offset 13 float 0.5

ROIPoolingParameter
    pooled_h 1 uint32 0
    pooled_w 2 uint32 0
    spatial_scale 3 float 1

ReLUParameter
    negative_slope 1 float 0

RecurrentParameter
    num_output 1 uint32 0
    expose_hidden 5 bool false

ReductionParameter
    enum ReductionOp SUM=1 ASUM=2 SUMSQ=3 MEAN=4
    operation 1 ReductionOp SUM
    axis 2 int32 0
    coeff 3 float 1

ReorgParameter
    stride 1 uint32 2
    reverse 2 bool false

ReshapeParameter
    shape 1 BlobShape
    axis 2 int32 0
    num_axes 3 int32 -1

SPPParameter
    enum PoolMethod MAX=0 AVE=1 STOCHASTIC=2
    pyramid_height 1 uint32
    pool 2 PoolMethod MAX

ScaleParameter
    axis 1 int32 1
    num_axes 2 int32 1
    bias_term 4 bool false

ShuffleChannelParameter
    group 1 uint32 1

SliceParameter
    slice_dim 1 uint32 1
    slice_point 2 uint32*
    axis 3 int32 1

SoftmaxParameter
    axis 2 int32 1

SwishParameter
    beta 1 float 1

ThresholdParameter
    threshold 1 float 0

TileParameter
    axis 1 int32 1
    tiles 2 int32

UpsampleParameter
    scale 1 int32 1
    scale_h 2 int32
    scale_w 3 int32
    pad_out_h 4 bool false
    pad_out_w 5 bool false
    upsample_h 6 uint32
    upsample_w 7 uint32
    stride 8 int32
    stride_h 9 int32
    stride_w 10 int32
"""
